"""Reports: every exhibit of `inspect` for one model, measured, drawn, told in words, and put on one page."""

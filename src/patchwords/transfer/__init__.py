"""Transfer: what a trained model is worth on other pictures, and how it is fitted to them."""

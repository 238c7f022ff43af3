"""Tests of patchwords.formats."""

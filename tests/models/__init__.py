"""Tests of patchwords.models."""

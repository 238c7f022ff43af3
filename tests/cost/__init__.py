"""Promises of the cost formula."""

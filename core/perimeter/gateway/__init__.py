"""The data path: from a client's request to the last byte of its response."""

"""Edit and replay: a recorded call is changed and sent again, through the proxy."""

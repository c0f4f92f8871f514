"""Images that maximize a filter or a class."""

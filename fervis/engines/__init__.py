"""The few pieces of numerical machinery that plug-ins share."""

"""Figure machinery: canvas, colours, axes and panels."""

"""Published data sets of facial expressions, in the layouts in which people have them."""

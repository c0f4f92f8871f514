"""Methods that explain by concepts that people name."""

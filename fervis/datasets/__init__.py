"""Data sets: images from files, photos or a generator, their selection and audit."""

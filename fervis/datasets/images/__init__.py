"""Reading pictures: decoding, class folders, face detection."""

"""Runs over many images: chunk by chunk, resumable, sharded, merged."""

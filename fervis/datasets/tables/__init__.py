"""Tables of pictures: CSV with paths, Parquet with paths or with the pictures themselves."""

"""fervis: what does a facial-expression network look at, and can I believe it?"""

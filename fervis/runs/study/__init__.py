"""A study: several runs gathered in one folder."""

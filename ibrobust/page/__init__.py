"""The page that people open: results on disk in, HTML that needs no network and no model out."""

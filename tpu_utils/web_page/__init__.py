"""Web pages as single files that need no network: `page.py` joins their parts."""

"""The dashboard: pages on Litestar and Jinja2, their static files, and what keeps them live."""

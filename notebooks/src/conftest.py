"""The sources run as notebooks, not as modules: pytest must not import them."""

collect_ignore_glob = ["[0-9]*.py"]

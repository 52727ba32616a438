"""Speed and reliability, measured: see README.md."""

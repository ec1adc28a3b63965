"""`python -m aimonk`, the same as run.py from any folder."""

from aimonk.cli.main import main

if __name__ == "__main__":
    main()

"""Train, evaluate, audit or apply a multi-label image classifier: see README.md or `python run.py --help`."""

from aimonk.cli.main import main

if __name__ == "__main__":
    main()

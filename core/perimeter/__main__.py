"""`python -m perimeter`, the same as the command `perimeter`."""

from perimeter.cli.main import main


if __name__ == "__main__":
    main(prog_name="perimeter")

"""Where a call begins: `duomem-mlx`, and `python -m duomem_mlx`."""


def run() -> None:
    """The command line; Ctrl-C while it is still being loaded ends as quietly as later on."""
    import sys

    try:
        from duomem_mlx.cli.main import run as run_command
    except KeyboardInterrupt:
        sys.exit(130)
    run_command()


if __name__ == "__main__":
    run()

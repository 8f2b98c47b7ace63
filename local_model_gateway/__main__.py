"""`python -m local_model_gateway` is `lmg`."""

from local_model_gateway import cli

if __name__ == "__main__":
    cli.main()

"""Lets the package run as ``python -m smoothcert``."""

from smoothcert.cli import main

main()

"""Tests of the gateway's guard."""

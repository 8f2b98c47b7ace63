"""Tests of the gateway's cli."""

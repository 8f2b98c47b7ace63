"""Tests of the gateway's doctor."""

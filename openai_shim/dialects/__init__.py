"""The ways in which clients speak, each a pure translation to and from OpenAI chat."""

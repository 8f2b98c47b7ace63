"""What tests share: the fake engine and the bridges to it."""

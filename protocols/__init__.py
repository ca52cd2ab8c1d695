"""The mathematics of joint computation: no input or output, no clock."""

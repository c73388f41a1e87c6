"""What tests of an application stand on.

`_inprocess` plays the server inside this process, `_process` runs a real one in a child
process, `_loopthread` lets plain functions drive an event loop. The public names of today
are those of `asgineer.testutils`.
"""

"""How long RAP takes, beside a forward pass, a gradient and iNNvestigate's methods.

`measure` times in a process of its own, `job` starts such processes, `report` makes the table and the plot.
"""

"""What is on this machine: engines that run or could, models, clients. Only ever looks."""

"""The numbers of this project, each as a ratio to a peer or limit of the same run (``script/bench``)."""

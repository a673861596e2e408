// The program: the command line is in MartletCommand and the commands below it.
MartletCommand.main()

MartletCommand.main()

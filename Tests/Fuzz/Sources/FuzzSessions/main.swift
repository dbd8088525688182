import Fuzzing

fuzz(SessionDriver.run)

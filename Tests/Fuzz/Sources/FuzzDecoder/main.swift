import Fuzzing

fuzz(DecoderDriver.run)

#![doc = "The runtime inside the VM."]
#![no_std]

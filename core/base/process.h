// The process that something was made in.
//
// fork() copies memory, and none of the threads but the one that calls it: in the child, locks that
// other threads held stay held, waits for them never end, and CUDA does not work. What has threads
// or devices asks here first whether it is such a copy, and then does nothing.
#pragma once

#include <unistd.h>

namespace weft {

class HomeProcess {
 public:
  // Is this the child of a fork() since then?
  bool left() const { return getpid() != id_; }

 private:
  pid_t id_ = getpid();
};

}  // namespace weft

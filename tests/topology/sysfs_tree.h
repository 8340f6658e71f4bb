// A recorded machine's /sys and /proc, unfolded from tests/topology/sysfs/NAME.txt into a folder
// that lives as long as the tree. A line is "PATH TEXT", "PATH -> TARGET" (a link) or a comment;
// lines of the same path follow each other in the file. Tests run in the root of the project.
#pragma once

#include <doctest/doctest.h>

#include <filesystem>
#include <fstream>
#include <random>
#include <string>

#include "topology/probe/sysfs.h"

namespace weft::topology::testing {

class SysfsTree {
 public:
  explicit SysfsTree(const std::string& name)
      : root_(std::filesystem::temp_directory_path() /
              ("weft-sysfs-" + std::to_string(std::random_device()()))) {
    const auto file = std::filesystem::path("tests/topology/sysfs") / (name + ".txt");
    std::ifstream recorded(file);
    REQUIRE(recorded.is_open());
    for (std::string line; std::getline(recorded, line);) {
      if (!line.starts_with('#')) add(line);
    }
  }
  ~SysfsTree() { std::filesystem::remove_all(root_); }
  SysfsTree(const SysfsTree&) = delete;
  SysfsTree& operator=(const SysfsTree&) = delete;

  std::filesystem::path path(const std::string& below) const { return root_ / below; }
  SystemRoot root() const { return {path("sys").string(), path("proc").string()}; }

 private:
  void add(const std::string& line) {
    const auto space = line.find(' ');
    const auto target = path(line.substr(0, space));
    const std::string text = line.substr(space + 1);
    std::filesystem::create_directories(target.parent_path());
    if (text.starts_with("-> ")) {
      std::filesystem::create_symlink(text.substr(3), target);
    } else {
      std::ofstream(target, std::ios::app) << text << "\n";
    }
  }

  std::filesystem::path root_;
};

}  // namespace weft::topology::testing

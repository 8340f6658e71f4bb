// See sysfs.h.
#include "topology/probe/sysfs.h"

#include <algorithm>
#include <array>
#include <charconv>
#include <cmath>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <set>

namespace weft::topology {
namespace {

namespace fs = std::filesystem;

constexpr std::size_t kMostBytes = 1 << 16;  // of any file that is read here
constexpr std::size_t kMostDevices = 4096;

// The file without the end of its last line; nullopt if it cannot be read.
std::optional<std::string> read(const fs::path& path) {
  std::ifstream file(path, std::ios::binary);
  if (!file) return std::nullopt;
  std::string text(kMostBytes, '\0');
  file.read(text.data(), static_cast<std::streamsize>(text.size()));
  text.resize(static_cast<std::size_t>(std::max<std::streamsize>(file.gcount(), 0)));
  if (file.bad()) return std::nullopt;
  while (!text.empty() && (text.back() == '\n' || text.back() == ' ')) text.pop_back();
  return text;
}

std::optional<std::int32_t> number(const std::optional<std::string>& text) {
  std::int32_t value = 0;
  if (!text) return std::nullopt;
  const auto [end, problem] = std::from_chars(text->data(), text->data() + text->size(), value);
  if (problem != std::errc() || end == text->data()) return std::nullopt;
  return value;
}

// Names in a folder, sorted; empty if there is none.
std::vector<std::string> names_in(const fs::path& folder) {
  std::vector<std::string> names;
  std::error_code problem;
  for (fs::directory_iterator it(folder, problem), end; !problem && it != end;
       it.increment(problem)) {
    if (names.size() == kMostDevices) break;
    names.push_back(it->path().filename().string());
  }
  std::sort(names.begin(), names.end());
  return names;
}

// "32.0 GT/s PCIe" is generation 5.
std::optional<std::int32_t> generation_of(const std::optional<std::string>& speed) {
  constexpr std::array<double, 6> kGigatransfers = {2.5, 5, 8, 16, 32, 64};
  if (!speed) return std::nullopt;
  double value = 0;
  if (std::from_chars(speed->data(), speed->data() + speed->size(), value).ec != std::errc()) {
    return std::nullopt;
  }
  for (std::size_t i = 0; i < kGigatransfers.size(); ++i) {
    if (std::abs(value - kGigatransfers[i]) < 0.01) return static_cast<std::int32_t>(i + 1);
  }
  return std::nullopt;
}

// A width of 0 or 255 means that the link is down or not there.
std::optional<std::int32_t> width_of(const std::optional<std::string>& text) {
  const auto width = number(text);
  return width && *width > 0 && *width <= 32 ? width : std::nullopt;
}

PciClass class_of(const std::string& code, const std::string& vendor) {
  const bool nvidia = vendor == "0x10de";
  if (code.starts_with("0x03") && nvidia) return PciClass::gpu;
  if (code.starts_with("0x0680") && nvidia) return PciClass::nvswitch;
  if (code.starts_with("0x0200") || code.starts_with("0x0207")) return PciClass::nic;
  if (code.starts_with("0x06")) return PciClass::bridge;
  return PciClass::other;
}

bool is_address(const std::string& name) {
  return name.size() >= 12 && name[name.size() - 2] == '.' && name[4] == ':';
}

std::uint32_t word_at(const std::string& bytes, std::size_t at, std::size_t size) {
  std::uint32_t value = 0;
  for (std::size_t i = size; i-- > 0;) {
    value = value << 8 | static_cast<unsigned char>(bytes[at + i]);
  }
  return value;
}

// The access control of a bridge out of its configuration: extended capability 13, whose control
// register redirects requests (bit 2) or completions (bit 3) of peers. nullopt if not readable.
std::optional<bool> redirects(const fs::path& device) {
  constexpr std::size_t kExtended = 256;
  constexpr std::uint32_t kAccessControl = 13, kRedirect = 1U << 2 | 1U << 3;
  std::ifstream file(device / "config", std::ios::binary);
  const std::string bytes{std::istreambuf_iterator<char>(file), {}};
  if (bytes.size() <= kExtended) return std::nullopt;
  std::size_t at = kExtended;
  for (int hops = 0; at >= kExtended && at + 8 <= bytes.size() && hops < 64; ++hops) {
    const std::uint32_t head = word_at(bytes, at, 4);
    if (head == 0 || head == 0xffffffff) break;
    if ((head & 0xffff) == kAccessControl) return (word_at(bytes, at + 6, 2) & kRedirect) != 0;
    at = head >> 20;
  }
  return false;
}

std::optional<bool> any_redirects(const fs::path& devices, const std::vector<std::string>& all) {
  bool unknown = false;
  for (const std::string& bridge : all) {
    const auto found = redirects(devices / bridge);
    if (found == true) return true;
    unknown = unknown || !found;
  }
  return unknown ? std::nullopt : std::optional(false);
}

// "/sys/devices/pci0000:17/0000:17:01.0/0000:18:00.0": the root and the bridges above the device.
void read_path(const fs::path& folder, PciDevice* device) {
  std::error_code problem;
  const fs::path real = fs::canonical(folder, problem);
  if (problem) return;
  for (const fs::path& part : real) {
    const std::string name = part.string();
    if (name.starts_with("pci") && name.find(':') != std::string::npos) {
      device->root = name;
      device->bridges.clear();
    } else if (is_address(name) && name != device->address) {
      device->bridges.push_back(name);
    }
  }
}

void read_iommu_group(const fs::path& folder, PciDevice* device) {
  std::error_code problem;
  const fs::path group = fs::canonical(folder / "iommu_group", problem);
  if (problem) return;
  device->iommu_group = number(group.filename().string());
  device->iommu_type = read(group / "type");
}

// What both ends of the device's link can do: the speed of the moment drops where it idles.
std::optional<std::int32_t> link_generation(const fs::path& devices, const PciDevice& device) {
  const auto most = [&](const std::string& address) {
    return generation_of(read(devices / address / "max_link_speed"));
  };
  const auto own = most(device.address);
  if (!own) return generation_of(read(devices / device.address / "current_link_speed"));
  const auto above = device.bridges.empty() ? std::nullopt : most(device.bridges.back());
  return above ? std::min(*own, *above) : own;
}

std::optional<std::string> cpu_name(const SystemRoot& root) {
  std::ifstream file(root.proc + "/cpuinfo");
  for (std::string line; std::getline(file, line);) {
    if (!line.starts_with("model name")) continue;
    const auto colon = line.find(": ");
    if (colon != std::string::npos) return line.substr(colon + 2);
  }
  return std::nullopt;
}

bool has_hypervisor(const SystemRoot& root) {
  std::ifstream file(root.proc + "/cpuinfo");
  for (std::string line; std::getline(file, line);) {
    if (line.starts_with("flags")) return line.find(" hypervisor") != std::string::npos;
  }
  return false;
}

// Groups there are: the IOMMU translates. Only ones of type "identity": it passes all through.
std::optional<Iommu> read_iommu(const SystemRoot& root) {
  std::error_code problem;
  const fs::path kernel = fs::path(root.sysfs) / "kernel";
  if (!fs::exists(kernel, problem)) return std::nullopt;
  const std::vector<std::string> groups = names_in(kernel / "iommu_groups");
  if (groups.empty()) return Iommu::off;
  const bool passes = std::all_of(groups.begin(), groups.end(), [&](const std::string& group) {
    return read(kernel / "iommu_groups" / group / "type") == "identity";
  });
  return passes ? Iommu::passthrough : Iommu::on;
}

}  // namespace

const char* iommu_name(Iommu iommu) {
  constexpr const char* kNames[] = {"off", "passthrough", "on"};
  return kNames[static_cast<std::size_t>(iommu)];
}

System read_system(const SystemRoot& root) {
  System system;
  system.cpu = cpu_name(root);
  system.virtual_machine = has_hypervisor(root);
  const fs::path nodes = fs::path(root.sysfs) / "devices/system/node";
  for (const std::string& name : names_in(nodes)) {
    const auto id = name.starts_with("node") ? number(name.substr(4)) : std::nullopt;
    if (id) system.numa_nodes.push_back({*id, read(nodes / name / "cpulist").value_or("")});
  }
  std::sort(system.numa_nodes.begin(), system.numa_nodes.end(),
            [](const NumaNode& a, const NumaNode& b) { return a.id < b.id; });
  system.iommu = read_iommu(root);
  system.has_pci = !names_in(fs::path(root.sysfs) / "bus/pci/devices").empty();
  return system;
}

std::optional<PciDevice> read_pci(const std::string& address, const SystemRoot& root) {
  const fs::path devices = fs::path(root.sysfs) / "bus/pci/devices";
  const fs::path folder = devices / address;
  std::error_code problem;
  if (!is_address(address) || !fs::is_directory(folder, problem)) return std::nullopt;
  PciDevice device;
  device.address = address;
  device.class_code = read(folder / "class").value_or("");
  device.vendor = read(folder / "vendor").value_or("");
  device.device = read(folder / "device").value_or("");
  device.kind = class_of(device.class_code, device.vendor);
  device.width = width_of(read(folder / "current_link_width"));
  if (!device.width) device.width = width_of(read(folder / "max_link_width"));
  const auto numa = number(read(folder / "numa_node"));
  if (numa && *numa >= 0) device.numa = numa;
  read_iommu_group(folder, &device);
  read_path(folder, &device);
  device.generation = link_generation(devices, device);
  device.acs_redirects = any_redirects(devices, device.bridges);
  return device;
}

std::vector<PciDevice> list_pci(const SystemRoot& root) {
  std::vector<PciDevice> found;
  for (const std::string& address : names_in(fs::path(root.sysfs) / "bus/pci/devices")) {
    auto device = read_pci(address, root);
    if (!device || device->kind == PciClass::bridge || device->kind == PciClass::other) continue;
    found.push_back(std::move(*device));
  }
  return found;
}

std::optional<double> pcie_rate(std::int32_t generation, std::int32_t width) {
  // Bytes per second and lane: transfers, less 8b/10b or 128b/130b; generation 6 has no such loss.
  constexpr std::array<double, 6> kLane = {
      0.25e9, 0.5e9, 8e9 / 8 * 128 / 130, 16e9 / 8 * 128 / 130, 32e9 / 8 * 128 / 130, 64e9 / 8};
  if (generation < 1 || generation > static_cast<std::int32_t>(kLane.size()) || width < 1) {
    return std::nullopt;
  }
  return kLane[static_cast<std::size_t>(generation - 1)] * width;
}

}  // namespace weft::topology

// All-reduce over groups of equal size: within groups, then between them, then within again.
//
// With g groups of m ranks, the vector has m g chunks. Member j of every group owns chunks
// (j, 0..g-1); of these, group k's member owns (j, k).
//   1. Within the group: push chunks (p, .) to member p's slots; add the group's contributions to
//      own chunks (j, .) in group order, into own output.
//   2. Between groups, among the members j of all groups: push the partial sums (j, k) to group k;
//      add those of (j, own group) in the order of groups, push the sums into the outputs of the
//      others.
//   3. Within the group: push all chunks (j, .) into the other members' outputs.
//
// Each hop moves what a two-shot all-reduce moves: (m - 1) / m of the vector within a group, and
// only 1 / m of it between groups, which suits machines whose groups are joined by slower links.
// Source: the two-level algorithms of Thakur, Rabenseifner and Gropp, 2005, with direct exchanges.
//
// Invariant: partial sums of a group are in the tensor's type: results depend on the grouping.
#pragma once

#include <cstddef>
#include <utility>
#include <vector>

#include "collectives/schedule/one_shot.h"

namespace weft::schedule::hierarchical {
namespace detail {

using Groups = std::vector<std::vector<Rank>>;

struct Builder {
  const Groups& groups;  // g of them, m ranks each
  int group;
  int member;
  Program program{};

  int g() const { return static_cast<int>(groups.size()); }
  int m() const { return static_cast<int>(groups.front().size()); }
  Rank rank_of(int k, int j) const {
    return groups[static_cast<std::size_t>(k)][static_cast<std::size_t>(j)];
  }
  Chunk chunk(int j, int k) const { return Chunk(j * g() + k); }
  int peer_member(int i) const { return (member + 1 + i) % m(); }
  int peer_group(int i) const { return (group + 1 + i) % g(); }

  void push(Source source, Chunk chunk, Target target, Rank to) {
    Step s;
    s.chunk = chunk;
    s.source = source;
    s.target = target;
    s.to = to;
    program.push_back(s);
  }
  void add(Source source, Chunk chunk, int of_group, bool last) {
    Step s;
    s.chunk = chunk;
    s.source = source;
    s.from = kEveryone;
    s.group = of_group;
    s.keep = true;
    s.last_sum = last;
    program.push_back(s);
  }
  void await(Chunk chunk, Rank from) {
    Step s;
    s.chunk = chunk;
    s.source = Source::output;
    s.from = from;
    program.push_back(s);
  }

  void within() {
    if (m() == 1) return;
    for (int k = 0; k < g(); ++k) {
      for (int i = 0; i + 1 < m(); ++i) {
        const int p = peer_member(i);
        push(Source::input, chunk(p, k), Target::slot, rank_of(group, p));
      }
      add(Source::slots, chunk(member, k), group, g() == 1);
    }
  }
  void between() {
    if (g() == 1) return;
    const Source own = m() == 1 ? Source::input : Source::output;
    for (int i = 0; i + 1 < g(); ++i) {
      const int k = peer_group(i);
      push(own, chunk(member, k), Target::slot, rank_of(k, member));
    }
    add(m() == 1 ? Source::slots : Source::output_plus_slots, chunk(member, group), g() + member,
        true);
    for (int i = 0; i + 1 < g(); ++i) {
      push(Source::output, chunk(member, group), Target::output, rank_of(peer_group(i), member));
    }
    for (int i = 0; i + 1 < g(); ++i) {
      await(chunk(member, peer_group(i)), rank_of(peer_group(i), member));
    }
  }
  void spread() {
    for (int k = 0; k < g(); ++k) {
      for (int i = 0; i + 1 < m(); ++i) {
        push(Source::output, chunk(member, k), Target::output, rank_of(group, peer_member(i)));
      }
    }
    for (int k = 0; k < g(); ++k) {
      for (int i = 0; i + 1 < m(); ++i) {
        await(chunk(peer_member(i), k), rank_of(group, peer_member(i)));
      }
    }
  }
};

}  // namespace detail

// `groups`: at least one, all of one size, every rank in exactly one.
inline Schedule materialise(WorldSize world, const std::vector<std::vector<Rank>>& groups) {
  Schedule all{"hierarchical", world};
  all.in_chunks = all.out_chunks = world.value();
  all.programs.resize(static_cast<std::size_t>(world.value()));
  all.groups = groups;
  for (std::size_t j = 0; j < groups.front().size(); ++j) {
    std::vector<Rank> across;
    for (const auto& group : groups) across.push_back(group[j]);
    all.groups.push_back(std::move(across));
  }
  for (std::size_t k = 0; k < groups.size(); ++k) {
    for (std::size_t j = 0; j < groups[k].size(); ++j) {
      detail::Builder builder{groups, static_cast<int>(k), static_cast<int>(j)};
      if (world.value() == 1) {
        builder.program.push_back(alone());
      } else {
        builder.within();
        builder.between();
        builder.spread();
      }
      all.programs[static_cast<std::size_t>(groups[k][j].value())] = std::move(builder.program);
    }
  }
  return all;
}

}  // namespace weft::schedule::hierarchical

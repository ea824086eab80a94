#include "coordinator/storage/secret_pieces.h"

#include <gtest/gtest.h>

#include "tests/unit/scratch.h"

namespace rivulet {
namespace {

const SecretRecord kWhich{"job", 3, 1, "masking", ""};

SecretRecord Whole(std::string bytes) {
  SecretRecord whole = kWhich;
  whole.bytes = std::move(bytes);
  return whole;
}

std::vector<SecretRecord> RowsOf(const std::vector<Write>& writes) {
  std::vector<SecretRecord> rows;
  for (const Write& write : writes) rows.push_back(std::get<SetSecret>(write).secret);
  return rows;
}

TEST(SecretPieces, ComeTogetherAgainWhateverTheirNumber) {
  for (const std::string& bytes : {std::string(), std::string("abc"), std::string("abcd"),
                                   std::string("abcdefgh"), std::string("abcdefghi")}) {
    const auto rows = RowsOf(WritesOf(Whole(bytes), 4));
    EXPECT_EQ(rows.size(), bytes.size() / 4 + 1);
    EXPECT_EQ(rows[0].name, "masking");
    EXPECT_EQ(*JoinedSecret(rows, kWhich, 4), bytes);
  }
}

// What was longer once has left pieces behind.
TEST(SecretPieces, OldOnesBehindTheLastMeanNothing) {
  std::vector<SecretRecord> rows = RowsOf(WritesOf(Whole("abcd"), 4));
  rows.push_back(RowsOf(WritesOf(Whole("0123456789"), 4))[2]);
  EXPECT_EQ(*JoinedSecret(rows, kWhich, 4), "abcd");
}

TEST(SecretPieces, AMissingOneIsDataLoss) {
  std::vector<SecretRecord> rows = RowsOf(WritesOf(Whole("0123456789"), 4));
  rows.erase(rows.begin() + 1);
  const absl::Status lost = JoinedSecret(rows, kWhich, 4).status();
  EXPECT_EQ(lost.code(), absl::StatusCode::kDataLoss);
  EXPECT_EQ(lost.message(), "secret 'masking/1' of job job round 3: is missing");
  EXPECT_EQ(JoinedSecret({}, kWhich, 4).status().code(), absl::StatusCode::kNotFound);
}

// 5000 members with 300 neighbours each, 106 bytes a share, make 159 MB; a row takes 67 MB.
TEST(SecretPieces, MoreThanARowHoldsIsStored) {
  const auto store = OpenSqliteStateStore(Scratch());
  ASSERT_TRUE(store.ok()) << store.status();
  JobRecord job;
  job.id = kWhich.job;
  job.document = "{}";
  RoundRecord round;
  round.job = kWhich.job;
  round.round = kWhich.round;
  round.attempt = kWhich.attempt;
  ASSERT_TRUE((*store)->Commit({PutJob{job}, PutRound{round}}).ok());
  std::string bytes(70 << 20, 'x');
  for (size_t at = 0; at < bytes.size(); at += 1 << 20) bytes[at] = static_cast<char>(at >> 20);
  const absl::Status whole = (*store)->Commit({SetSecret{Whole(bytes)}});
  EXPECT_FALSE(whole.ok());
  const absl::Status stored = (*store)->Commit(WritesOf(Whole(bytes)));
  ASSERT_TRUE(stored.ok()) << stored;
  const auto read = JoinedSecret((*store)->Load()->secrets, kWhich);
  ASSERT_TRUE(read.ok()) << read.status();
  EXPECT_TRUE(*read == bytes);
}

}  // namespace
}  // namespace rivulet

#pragma once

namespace rivulet {

// Character classes that BERT pipelines freeze at Unicode 8.0: what was assigned or moved to
// another category later is neither dropped nor split off. Newer libraries' tables give other ids.
// Compared with the reference tokenizer at every code point.
bool IsFormat8(char32_t c);          // Cf
bool IsNonspacingMark8(char32_t c);  // Mn
bool IsBertPunctuation(char32_t c);  // P*, and ASCII symbols such as $ + < = >

}  // namespace rivulet

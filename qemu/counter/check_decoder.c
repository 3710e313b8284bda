/*
 * Decodes A64 instructions, one word in hexadecimal a line: prints class, lanes and bytes of each.
 * For the tests, which assemble the words.
 */
#include <stdio.h>

#include "a64.h"

int main(void)
{
    static const char *const names[CLASSES] = {
        [MAC] = "mac", [SIMD] = "simd", [LOAD] = "load", [STORE] = "store", [BRANCH] = "branch",
        [OTHER] = "other",
    };
    unsigned word;
    while (scanf("%x", &word) == 1) {
        struct decoded found = decode(word);
        printf("%s %u %u\n", names[found.class], found.lanes, found.bytes);
    }
    return 0;
}

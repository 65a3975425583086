/* A model written by hand, for tests of everything around a model. */
#ifndef WHYLITE_TOY_H
#define WHYLITE_TOY_H

#include "whylite.h"

#define WHYLITE_TOY_ARENA_SIZE 80
#define WHYLITE_TOY_INPUT_SIZE 12
#define WHYLITE_TOY_SCORES_SIZE 3
#define WHYLITE_TOY_STEPS 4

extern const whylite_model whylite_toy;
extern const whylite_model whylite_yes; /* the same, with one score, of yes */

#endif

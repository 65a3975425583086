/* What the start-up code and the program of a virtual board share. */
#ifndef WHYLITE_VIRTUAL_H
#define WHYLITE_VIRTUAL_H

#include <stdint.h>

/* Return how many bytes of stack have been in use at the most since start-up, or the whole stack where it ran over. */
uint32_t whylite_stack_peak(void);

void whylite_reset(void); /* where the processor begins */
void whylite_tick(void);  /* SysTick's interrupt: its 24 bits have run out once more */

#endif
